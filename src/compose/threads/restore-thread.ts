/** A thread that builds the image of a restored database. */
import { parentPort } from 'node:worker_threads'
import { serveImageThread } from '../../infrastructure/image/image-worker.js'
import { decodeFrame } from '../../infrastructure/lz4/frame-decoder.js'

if (parentPort === null) throw new Error('this file is run as a worker thread')
serveImageThread(parentPort, decodeFrame)
