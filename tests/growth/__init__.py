"""Time never grows faster than input: every function that takes bytes or text from outside, and every pattern."""
