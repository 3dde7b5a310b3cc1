"""The jobs of the commands train, plan and diagnose: what each does, in order, with the objects of `runs.setup`."""
