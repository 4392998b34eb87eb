"""The cases of `make fuzz`: mutated models, IR texts and artifacts, and what each must come to."""
