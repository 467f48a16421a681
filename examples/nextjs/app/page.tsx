import { openStore } from '../lib/store'

/** Rendered at each request. */
export const dynamic = 'force-dynamic'

export default async function Page() {
  const { db } = await openStore()
  const notes = db.prepare<[], string>('SELECT text FROM note ORDER BY id').pluck().all()
  return (
    <ul>
      {notes.map((text, i) => (
        <li key={i}>{text}</li>
      ))}
    </ul>
  )
}
