"""The service that is measured: a batched image classifier behind LitServe."""
