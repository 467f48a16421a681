import { type NextConfig } from 'next'

const config: NextConfig = {
  // They start processes and load addons from their own folders: they are not bundled.
  serverExternalPackages: ['better-sqlite3', 'tsreplicate'],
}

export default config
