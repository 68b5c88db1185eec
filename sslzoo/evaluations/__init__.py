"""First-party evaluations of a frozen encoder, found through entry points as anyone's are."""
