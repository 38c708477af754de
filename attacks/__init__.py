"""Backdoor attacks, to test a defence with: each one is a plugin of the group `elixir.attacks`."""
