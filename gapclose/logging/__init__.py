"""What a run tells its logger: curves over axes of their own, results, and on W&B where its files come from."""
