"""Damaged inputs for every reader: nothing but a DeclutchError may come out (``make fuzz``)."""
