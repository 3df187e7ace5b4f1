"""From an HTTP process to a worker and back: the request table, batches, and the supervision of the workers."""
