"""Folders in Hugging Face's form, in and out."""

from gptmodel.hf.mapping import ARCHITECTURES, State
from gptmodel.hf.read import read, read_tokenizer
from gptmodel.hf.write import FILES, to_hugging_face, write_folder

__all__ = ["ARCHITECTURES", "FILES", "State", "read", "read_tokenizer", "to_hugging_face", "write_folder"]
