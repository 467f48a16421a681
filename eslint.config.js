import js from '@eslint/js'
import tseslint from 'typescript-eslint'

/** Calls that follow links, wait for who writes to a FIFO, or make a file under a name that may be taken. */
const opening = [
  ...['open', 'readFile', 'writeFile', 'appendFile', 'truncate', 'utimes', 'mkdir', 'mkdtemp'],
  ...['chown', 'chmod', 'createReadStream', 'createWriteStream'],
]

export default tseslint.config(
  {
    ignores: [
      'dist/',
      'package/',
      'archives/',
      '.installed/',
      'coverage/',
      'api/',
      'node_modules/',
      'test/fixtures/',
      // Applications with packages of their own: they are compiled where they are installed.
      'examples/*/',
    ],
  },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-unnecessary-condition': [
        'error',
        { allowConstantLoopConditions: 'only-allowed-literals' },
      ],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { ignoreUsingDeclarations: true }],
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          name: 'node:http',
          allowTypeImports: true,
          message: 'src/kit/node-http.ts has it, and why.',
        },
      ],
    },
  },
  {
    // Where others may have put something under a name of ours: a link, a FIFO.
    files: ['src/infrastructure/{spool,folder,replica-clients/file}/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          paths: ['node:fs', 'node:fs/promises'].map((name) => ({
            name,
            importNames: opening.flatMap((call) => [call, `${call}Sync`]),
            message: 'src/infrastructure/files opens, reads and makes files, safely.',
          })),
        },
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  {
    files: ['**/*.js', '**/*.cjs'],
    languageOptions: { globals: { process: 'readonly', module: 'writable', console: 'readonly' } },
  },
)
