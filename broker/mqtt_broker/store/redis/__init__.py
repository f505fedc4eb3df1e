"""The store that nodes share, on Redis or Valkey. `store.RedisStore` is the way in; nothing else here is for others."""
