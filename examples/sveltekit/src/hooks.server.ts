import { building } from '$app/environment'
import { openStore } from '#lib/server/store.ts'
import { type ServerInit } from '@sveltejs/kit'

/** Runs once when the server starts, before the first request. */
export const init: ServerInit = async () => {
  if (!building) await openStore()
}
