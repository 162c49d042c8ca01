"""`strongroom doctor`: checks of a cell, and what to do about each finding."""
