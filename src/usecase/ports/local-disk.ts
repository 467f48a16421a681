/** The port to what the operating system says of files and the disks that they lie on. Opens nothing. */
export interface FileSystemInfo {
  /** The same for all that lies on one file system. */
  readonly id: string
  readonly usedBytes: number
  /** What is left for who runs this process. */
  readonly availableBytes: number
}

export interface LocalDisk {
  /** Undefined: there is no such file, or it cannot be looked at. */
  fileBytes(path: string): Promise<number | undefined>
  /** The size of a database's WAL, which lies beside the file that the path leads to. */
  walBytes(databasePath: string): Promise<number | undefined>
  /** The file system that a folder lies on; undefined: there is no such folder, or it cannot be looked at. */
  fileSystem(folder: string): Promise<FileSystemInfo | undefined>
}
