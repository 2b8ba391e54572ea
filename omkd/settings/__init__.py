"""`omkd.toml`: one table of options, from which loading, the docs and `omkctl config` follow."""
