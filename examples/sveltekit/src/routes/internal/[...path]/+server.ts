import { openStore } from '#lib/server/store.ts'
import { type RequestHandler } from '@sveltejs/kit'

export const GET: RequestHandler = async ({ request }) => {
  const { replication } = await openStore()
  return replication.handler()(request)
}
