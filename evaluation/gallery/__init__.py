"""The gallery: a page that opens from disk, and the scripts that hand it the labels, part by part.

A page that was opened as a file may not fetch files, but it may run scripts that lie beside it. So the data are scripts of one
call each (scripts.py): a summary that is read first, an index of all rows in chunks (index.py), and what a row's pictures are
drawn from, in chunks as well, read when a row comes into sight. Pictures are kept once, small and plain (pictures.py); the page
draws activation, boxes and masks over them.
"""
