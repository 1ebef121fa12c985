"""Procedural scenes: a ray caster, and streets, parks, yards, squares, rooms and halls to look at.

`scene.py` looks, `views.py` looks with a rig's cameras; the other files are what there is to see.
"""
