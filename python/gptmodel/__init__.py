"""Small GPTs over gptbpe token shards."""
