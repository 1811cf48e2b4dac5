"""Models of what excitons do in a film, apart from any microscope."""
