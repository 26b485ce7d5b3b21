"""Text generators behind tools/builtin_corpus.py: word lists, fact tables and document templates."""
