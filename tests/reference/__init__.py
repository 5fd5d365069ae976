"""Generators of docs/reference: pages and JSON Schemas that are made from the code, never by hand."""
