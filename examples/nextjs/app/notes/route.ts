import { NotStoredError } from 'tsreplicate'
import { openStore } from '../../lib/store'

/** A note is answered with 201 once it is stored outside of this machine. */
export async function POST(request: Request): Promise<Response> {
  const { text } = (await request.json()) as { readonly text: string }
  const { db, replication } = await openStore()
  const insert = db.prepare<[string]>('INSERT INTO note (text) VALUES (?)')
  try {
    const work = () => insert.run(text)
    const { lastInsertRowid } = await replication.durable(work, { urgency: 'now' })
    return Response.json({ id: Number(lastInsertRowid) }, { status: 201 })
  } catch (error) {
    // It is committed all the same: whoever asks again asks for a second note.
    if (!(error instanceof NotStoredError)) throw error
    return Response.json({ error: error.message }, { status: 503 })
  }
}
