"""A file becomes an `Object`: ELF, BTF, CO-RE, relocation, linking."""
