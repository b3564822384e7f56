"""All drawing: style, a module a kind of figure, tables."""
