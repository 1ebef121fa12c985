"""`spidereye serve`: panoramas over HTTP. A surface; it calls `Stitcher` and knows no geometry.

Importing its modules needs the extra `web`.
"""
