"""Operations on keys: creation, rotation, rewrapping, shredding and its certificate."""
