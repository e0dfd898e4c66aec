"""Byte-level BPE: train, encode, shard."""
