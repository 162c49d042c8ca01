"""One KEK in several KMSs: any of them can unwrap."""
