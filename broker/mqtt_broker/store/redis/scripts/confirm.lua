-- A write, so that a WAIT after it covers everything that was read before.
return redis.call('INCR', KEYS[1] .. 'confirmed')
