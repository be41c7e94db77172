// A library that only needs others still has one source.
