"""Formats that the dataset is exported to, one a module; `tasks.export` is their command line.

Each has ``write``, which takes samples as they come and holds no more than a few of them, and
``OPENING``, how to open what it wrote, in Markdown.
"""
