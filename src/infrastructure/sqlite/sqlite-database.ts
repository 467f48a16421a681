import { type FileHandle, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DatabaseError, LostReaderError } from '../../domain/errors.js'
import { type FileSigns, formatFingerprint } from '../../domain/wal/file-fingerprint.js'
import { type SourceWal } from '../../domain/stored/trailer.js'
import { type Broken, type Continuity } from '../../domain/wal/break-reason.js'
import { codeOf } from '../../kit/error-text.js'
import {
  type CaptureCursor,
  type CaptureResult,
  type FileIdentity,
  type FileLook,
  type ManagedDatabase,
  type OpenedDatabase,
  type OwnIndex,
  type WalState,
} from '../../usecase/ports/managed-database.js'
import { type FileRights } from '../files/ownership.js'
import { PinnedFile } from '../files/pinned-file.js'
import { isTrusted } from '../files/who-can-change.js'
import { refuseForeignDatabase } from './database-access.js'
import { isInForeignFolder, ownerOf } from './database-owner.js'
import {
  type DatabaseFile,
  findDatabaseFile,
  refuseOtherOwner,
  refuseSparse,
} from './database-file.js'
import { findLogChange, type LogFiles, type OpenedWithLog } from './log-files.js'
import { nameOfProcess, processesBesideAnotherLog } from './file-locks.js'
import { isMostlyHoles, pastCacheFlag, readChunks } from './read-chunks.js'
import { isMountPoint } from './mounts.js'
import { type DatabaseFiles } from './opening.js'
import { type SqliteCall } from './sqlite-messages.js'
import { LockedError } from './sqlite-caller.js'
import { type AssignedCallers, type DatabaseCallers } from './sqlite-callers.js'

/**
 * Compressed at once. LZ4 looks back no further than 64 KiB, and the allocator behind it keeps a few blocks of every thread
 * for later: with 4 MiB the daemon grew by 250 MB, with this by 35.
 */
const snapshotChunkBytes = 256 * 1024

/** How long one call may try to stop a busy writer. */
const lockSpinMs = 50

/** How long another process may be in the way, for which an application would set a busy timeout, and how often it is looked. */
const patienceMs = 1000
/**
 * The same at the opening, when nothing is held up yet. An application that creates its tables, or writes in rollback mode,
 * may hold its lock for so long, and that is no error: SQLite's own programs wait for as long.
 */
const openPatienceMs = 5000
const lookMs = 20

/** `statfs` types of file systems on which SQLite's locks are not to be trusted. */
const networkFileSystems = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
])

/**
 * The database files that are open. When the process ends, they stay open until its very end, and would else be closed by the
 * garbage collector, if it looked before that: Node warns of it, and SQLite's locks on the file would go with it.
 */
const openFiles = new Set<FileHandle>()

/** A live SQLite database through better-sqlite3, in threads or processes. See `wal-capture.ts` for the mechanism. */
export class SqliteDatabase implements ManagedDatabase {
  readonly path: string
  readonly #assigned: AssignedCallers
  readonly #database: number
  readonly #allowNetworkFileSystem: boolean
  readonly #rollBytes: number | undefined
  readonly #isFound: boolean
  #identity: FileIdentity | undefined
  #device = 0
  #rights: FileRights | undefined
  /** The user whose it was when it was first opened. */
  #owner: number | undefined
  #log: LogFiles = { wal: undefined, shm: undefined }
  /** Who makes its calls since it was last opened. */
  #callers: DatabaseCallers
  /** The life of who has it open. */
  #openedIn: number | undefined
  /** Somebody else can change the folder in which it lies. */
  #isInForeignFolder = false
  #checkpointing: Promise<unknown> | undefined
  /** Where the path led to when it was opened: SQLite resolves it, too, and has `-wal` beside that file. */
  #file: string
  /** Never closed while a reader is held: closing it would drop the process's locks on the file. */
  #opening: Promise<FileHandle> | undefined
  #openingPastCache: Promise<FileHandle> | undefined

  constructor(options: {
    path: string
    callers: AssignedCallers
    allowNetworkFileSystem: boolean
    /** It was found in a folder, where no link is a database. */
    isFound: boolean
    rollBytes?: number
  }) {
    this.path = this.#file = options.path
    this.#assigned = options.callers
    this.#callers = options.callers.inThreads
    this.#database = options.callers.database
    this.#allowNetworkFileSystem = options.allowNetworkFileSystem
    this.#isFound = options.isFound
    this.#rollBytes = options.rollBytes
  }

  async open(signal: AbortSignal): Promise<OpenedDatabase | undefined> {
    signal.throwIfAborted()
    await this.close()
    const found = await this.#find()
    if (found === undefined) return undefined
    const { path: file, identity } = found
    this.#owner ??= found.rights.uid
    this.#rights = found.rights
    this.#file = file
    await refuseForeignDatabase(file)
    if (!this.#allowNetworkFileSystem) await this.#refuseNetworkFileSystem()
    await this.#refuseOtherNames(found)
    this.#isInForeignFolder = await isInForeignFolder(file)
    this.#device = identity.device
    this.#callers = this.#place(found.rights)
    this.#openedIn = this.#callers.capture.life
    const opened = (await this.#patiently(
      { call: 'open', database: this.#database, path: file, identity, rollBytes: this.#rollBytes },
      signal,
      openPatienceMs,
    )) as OpenedWithLog | undefined
    if (opened === undefined) return undefined
    this.#identity = opened.identity
    this.#log = opened.log
    return opened
  }

  /** Undefined: there is no file. */
  async #find(): Promise<DatabaseFile | undefined> {
    try {
      return await findDatabaseFile(this.path, { isFound: this.#isFound, owner: this.#owner })
    } catch (error) {
      if (error instanceof DatabaseError) throw error
      throw new DatabaseError('the file cannot be examined', { cause: error })
    }
  }

  /** Under another name it has another WAL, and what is committed there is never seen here. */
  async #refuseOtherNames({ path: file, nameCount }: DatabaseFile): Promise<void> {
    if (nameCount > 1) {
      throw new DatabaseError(
        `it has ${nameCount} names (hard links), each with a WAL of its own`,
        {
          hint: `keep only the name that the application uses: find -L FOLDER -samefile ${file} lists all of them`,
        },
      )
    }
    if (await isMountPoint(file)) {
      throw new DatabaseError('it is mounted here as a single file, without its WAL', {
        hint: 'mount the folder that contains it: what the application commits outside is in the -wal file there',
      })
    }
  }

  /** Mode and owner of the file, as last seen; undefined: it was not opened yet. */
  get rights(): FileRights | undefined {
    return this.#rights
  }

  /** Who is to make its calls. Throws a {@link DatabaseError} while it is held back. */
  #place(rights: FileRights): DatabaseCallers {
    const owner = ownerOf(rights, this.#isInForeignFolder)
    return this.#assigned.callersFor({ owner, device: this.#device })
  }

  /** Throws where it is to be opened again, by other callers, or is held back. */
  #refuseToStay(): void {
    if (this.#rights === undefined || this.#place(this.#rights) === this.#callers) return
    throw new LostReaderError('it is opened again where it can do no harm to other users')
  }

  async #refuseNetworkFileSystem(): Promise<void> {
    let type: number
    try {
      type = (await statfs(path.dirname(this.#file))).type >>> 0
    } catch {
      return
    }
    const name = networkFileSystems.get(type)
    if (name === undefined) return
    throw new DatabaseError(
      `it is on a network file system (${name}), where SQLite's locks do not work`,
      {
        hint: 'run tsreplicate where the disk is, or set allow-network-file-system: true at your own risk',
      },
    )
  }

  /** A call that the thread makes without waiting: the wait for another process is here, and nobody else waits with it. */
  async #patiently(
    call: SqliteCall,
    signal: AbortSignal,
    maxWaitMs = patienceMs,
  ): Promise<unknown> {
    const deadline = performance.now() + maxWaitMs
    for (;;) {
      signal.throwIfAborted()
      try {
        return await this.#callers.capture.call(call)
      } catch (error) {
        if (!(error instanceof LockedError) || performance.now() > deadline) throw error
      }
      await sleep(lookMs, undefined, { signal })
    }
  }

  async begin(cursor: CaptureCursor | undefined, signal: AbortSignal): Promise<Continuity> {
    const database = this.#database
    const first = await this.#patiently({ call: 'begin', database, cursor }, signal)
    let verdict = first as Continuity | undefined
    while (verdict === undefined) {
      signal.throwIfAborted()
      const more = await this.#callers.capture.call({ call: 'verifyMore', database })
      verdict = more as Continuity | undefined
    }
    return verdict
  }

  async capture(
    {
      maxBytes,
      isEager = false,
      atOnce = false,
      isDeleted = false,
    }: { maxBytes: number; isEager?: boolean; atOnce?: boolean; isDeleted?: boolean },
    signal: AbortSignal,
  ): Promise<CaptureResult> {
    this.#refuseToStay()
    return (await this.#patiently(
      { call: 'capture', database: this.#database, maxBytes, isEager, atOnce, isDeleted },
      signal,
    )) as CaptureResult
  }

  async continueAs(index: OwnIndex, signal: AbortSignal): Promise<SourceWal | Broken> {
    signal.throwIfAborted()
    const call = { call: 'continue-as', database: this.#database, index } as const
    return (await this.#callers.capture.call(call)) as SourceWal | Broken
  }

  /** What each of its connections has to open. Undefined: it is not open. */
  get #files(): DatabaseFiles | undefined {
    return this.#identity && { identity: this.#identity, log: this.#log }
  }

  async checkpoint(signal: AbortSignal): Promise<WalState & { readonly busy: boolean }> {
    signal.throwIfAborted()
    const files = this.#files
    if (files === undefined) throw new DatabaseError('it is not open')
    const call = { call: 'checkpoint', database: this.#database, path: this.#file, files } as const
    const deadline = performance.now() + openPatienceMs
    for (;;) {
      const checkpointing = this.#callers.checkpoint.call(call)
      this.#checkpointing = checkpointing
      try {
        return (await checkpointing) as WalState & { readonly busy: boolean }
      } catch (error) {
        // Another database has ended its process; this one may have, too.
        if (!(error instanceof LostReaderError) || performance.now() > deadline) throw error
        this.#refuseToStay()
      }
      await sleep(lookMs, undefined, { signal })
    }
  }

  async syncFile(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await (await this.#openFile()).datasync()
  }

  async finishWal(
    { maxBytes, tryMs }: { maxBytes: number; tryMs: number },
    signal: AbortSignal,
  ): Promise<CaptureResult> {
    signal.throwIfAborted()
    const call = { call: 'finish-wal', database: this.#database, maxBytes, tryMs } as const
    return (await this.#callers.capture.call(call)) as CaptureResult
  }

  async holdWriters({ holdMs }: { holdMs: number }, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted()
    const { lock } = this.#callers
    const { life } = lock
    try {
      const call = { call: 'lock', path: this.#file, spinMs: lockSpinMs, holdMs } as const
      const [database, files] = [this.#database, this.#files]
      return (await lock.call({ ...call, database, files })) === true
    } catch (error) {
      // Without the thread, or its connection, there is no lock now.
      if (life === lock.life && !(error instanceof LockedError)) throw error
      return false
    }
  }

  async letWritersGo(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    // It goes by itself, and with its thread.
    await this.#callers.lock
      .call({ call: 'unlock', database: this.#database })
      .catch(() => undefined)
  }

  async rest(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await this.#callers.capture.call({ call: 'rest', database: this.#database })
  }

  async hasFolder(signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted()
    return stat(path.dirname(this.path)).then(
      () => true,
      (error: unknown) => codeOf(error) !== 'ENOENT',
    )
  }

  async look(signal: AbortSignal): Promise<FileLook> {
    signal.throwIfAborted()
    try {
      const now = await stat(this.path)
      if (now.dev !== this.#identity?.device || now.ino !== this.#identity.inode) {
        return { kind: 'replaced' }
      }
      // Root has given this very file away, as one that it has restored.
      if (this.#owner !== undefined && isTrusted(this.#owner)) this.#owner = now.uid
      refuseOtherOwner(now, this.#owner)
      this.#rights = now
      const change = await findLogChange(this.#file, this.#log)
      if (change !== undefined) return { kind: 'log replaced', detail: change }
      return { kind: 'same', signs: now }
    } catch (error) {
      if (isNoFile(error)) return { kind: 'gone' }
      if (error instanceof DatabaseError) throw error
      throw new DatabaseError('the file cannot be examined', { cause: error })
    }
  }

  async openedElsewhere(signal: AbortSignal): Promise<readonly string[]> {
    signal.throwIfAborted()
    const inode = this.#identity?.inode
    const shmInode = Number(this.#log.shm?.split(':')[1])
    if (inode === undefined || Number.isNaN(shmInode)) return []
    const { pid } = this.#callers.capture
    const pids = await processesBesideAnotherLog({ inode, shmInode }, pid)
    return Promise.all(pids.map(nameOfProcess))
  }

  async fingerprint(signal: AbortSignal): Promise<string> {
    signal.throwIfAborted()
    const signsOf = (file: string): Promise<FileSigns | undefined> =>
      stat(file).catch(() => undefined)
    const [wal, shm] = [await signsOf(`${this.#file}-wal`), await signsOf(`${this.#file}-shm`)]
    return formatFingerprint(await signsOf(this.path), wal, shm)
  }

  async *readFile(signal: AbortSignal): AsyncIterable<Uint8Array> {
    const file = await this.#openFile()
    const pastCache = isMostlyHoles(await file.stat()) ? await this.#openPastCache() : undefined
    yield* readChunks(file, { pastCache, chunkBytes: snapshotChunkBytes, signal })
  }

  async readPart(
    { offset, length }: { readonly offset: number; readonly length: number },
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    signal.throwIfAborted()
    const { buffer, bytesRead } = await (
      await this.#openFile()
    ).read(new Uint8Array(length), 0, length, offset)
    return buffer.subarray(0, bytesRead)
  }

  async fileSizeBytes(signal: AbortSignal): Promise<number> {
    signal.throwIfAborted()
    const stats = await (await this.#openFile()).stat()
    refuseSparse(stats)
    return stats.size
  }

  /** One descriptor for all that needs one, from the first time on. */
  async #openFile(): Promise<FileHandle> {
    if (this.#identity === undefined) throw new DatabaseError('it is not open')
    this.#opening ??= this.#openSameFile(this.#identity)
    try {
      return await this.#opening
    } catch (error) {
      this.#opening = undefined
      throw error
    }
  }

  /** Stays open as the other one does, for the same reason. Undefined: the file system has no such thing. */
  async #openPastCache(): Promise<FileHandle | undefined> {
    if (this.#identity === undefined || pastCacheFlag === undefined) return undefined
    this.#openingPastCache ??= this.#openSameFile(this.#identity, pastCacheFlag)
    return this.#openingPastCache.catch(() => undefined)
  }

  async #openSameFile({ device, inode }: FileIdentity, flags = 0): Promise<FileHandle> {
    // Not opened to be looked at: closing it would drop the locks of whoever's file it is.
    await using pinned = await PinnedFile.open(this.#file)
    if (pinned?.stats.dev === device && pinned.stats.ino === inode) {
      const file = await pinned.reopen(flags)
      openFiles.add(file)
      return file
    }
    throw new DatabaseError('another file has taken its place')
  }

  async waitForLoss(signal: AbortSignal): Promise<void> {
    const { capture } = this.#callers
    if (this.#openedIn !== undefined) await capture.untilDeath(this.#openedIn, signal)
  }

  async close(): Promise<void> {
    const { capture } = this.#callers
    const { life } = capture
    try {
      // Who died has closed it.
      if (this.#openedIn === life) {
        await capture.call({ call: 'close', database: this.#database })
      }
    } catch (error) {
      if (capture.life === life) throw error
    }
    this.#openedIn = undefined
    this.#identity = undefined
    const openings = [this.#opening, this.#openingPastCache]
    this.#opening = this.#openingPastCache = undefined
    // Its connection has locks, too, which go with any descriptor of the file that is closed.
    await this.#checkpointing?.catch(() => undefined)
    for (const opening of openings) {
      const file = await opening?.catch(() => undefined)
      if (file === undefined) continue
      openFiles.delete(file)
      await file.close()
    }
  }
}

function isNoFile(error: unknown): boolean {
  return codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR'
}
