/* Makes a server's requests to write files to disk do nothing, for tests. Killing the server loses nothing, because the files are
   in the page cache of the operating system. Only a crash of the machine would lose them. */
int fsync(int file) { (void)file; return 0; }
int fdatasync(int file) { (void)file; return 0; }
int syncfs(int file) { (void)file; return 0; }
int sync_file_range(int file, long long offset, long long bytes, unsigned flags) {
    (void)file; (void)offset; (void)bytes; (void)flags;
    return 0;
}
