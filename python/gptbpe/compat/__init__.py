"""Other programs' interfaces over this package's tokenizer."""
