-- What time it is, and what a node that agreed with it saw last (renew.lua). ARGV: the time, "" = the server's.
tell_time(ARGV[1])
return { string.format('%.6f', now()), call('HGET', P .. 'clock', 'seen') }
