/** Flags that several commands take, and what they mean everywhere. */
import { type FlagValues } from './command.js'

export const configFlags = {
  config: { value: 'path', description: 'configuration file' },
  noExpandEnv: { description: 'do not replace $NAME in the configuration' },
} as const

export const replicaFlag = {
  replica: { value: 'name', description: 'only this replica' },
} as const

export const jsonFlag = {
  json: { description: 'print JSON' },
} as const

export type ConfigFlags = FlagValues<typeof configFlags>
export type SubjectFlags = ConfigFlags & FlagValues<typeof replicaFlag>

/** What a command is about that asks replicas. */
export const subjectArguments = [
  { name: 'database-or-url', description: 'database path or replica URL' },
] as const
