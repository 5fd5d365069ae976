"""Planted mistakes: changes of the product that a reviewer fears, and the tests that must find each of them."""
