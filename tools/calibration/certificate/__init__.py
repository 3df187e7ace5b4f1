"""The certificate: what the recorded pairs and runs say of the gate, as a document and as a page."""
