import { openStore } from '#lib/server/store.ts'
import { json, type RequestHandler } from '@sveltejs/kit'
import { NotStoredError } from 'tsreplicate'

export const GET: RequestHandler = async () => {
  const { db } = await openStore()
  return json(db.prepare('SELECT id, text FROM note ORDER BY id').all())
}

/** A note is answered with 201 once it is stored outside of this machine. */
export const POST: RequestHandler = async ({ request }) => {
  const { text } = (await request.json()) as { readonly text: string }
  const { db, replication } = await openStore()
  const insert = db.prepare<[string]>('INSERT INTO note (text) VALUES (?)')
  try {
    const work = () => insert.run(text)
    const { lastInsertRowid } = await replication.durable(work, { urgency: 'now' })
    return json({ id: Number(lastInsertRowid) }, { status: 201 })
  } catch (error) {
    // It is committed all the same: whoever asks again asks for a second note.
    if (!(error instanceof NotStoredError)) throw error
    return json({ error: error.message }, { status: 503 })
  }
}
