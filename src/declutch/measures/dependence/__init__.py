"""Dependence."""
