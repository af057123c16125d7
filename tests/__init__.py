"""The tests of lamina: see CONTRIBUTING.md for how to run them and what each folder is for."""
