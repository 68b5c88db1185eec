"""Methods whose labels a program gives: a renderer, or one that looks at what moves."""
