import { openStore } from '../../../lib/store'

export async function GET(request: Request): Promise<Response> {
  const { replication } = await openStore()
  return replication.handler()(request)
}
