"""Layouts of labelled trees that are checked, one a module; `tasks.validate` is the command line.

What is read may come from anybody: nothing is unpickled, unpacked or run, no name leads outside the
tree, and a picture is refused before it is decoded if it claims more pixels than Pillow allows.
"""
