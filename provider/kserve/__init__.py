"""KServe's second protocol of inference: its messages, and tensors on their way in and out."""
