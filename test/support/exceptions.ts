const installations = {
  'tar -xzf tsreplicate-*-linux-x64.tar.gz -C /opt && ln -s /opt/tsreplicate-*/bin/tsreplicate /usr/local/bin/':
    'changes the machine; npm run test:installs does it on clean ones',
  'dpkg -i tsreplicate_*_amd64.deb':
    'changes the machine; npm run test:installs does it on clean ones',
  'npm install -g ./tsreplicate-*.tgz':
    'changes the machine; npm run pack:check installs the package into a folder',
} as const

/**
 * Blocks of the documents that are not done as the language of a block says (see `documents.ts`), by page and first line, each
 * with its reason. What is left is done: the shell reads them, commands of tsreplicate in them are parsed, and YAML is YAML.
 */
export const exceptions: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'README.md': {
    'npm ci && npm run quickstart':
      'whoever runs the tests has installed; the quickstart has a test of its own',
    ...installations,
  },
  'examples/README.md': {
    'cp tsreplicate.env.example tsreplicate.env':
      'needs Docker; examples.test.ts runs what the containers run',
    'kamal server exec "docker run --rm -v app_storage:/storage busybox chown 1000:1000 /storage"':
      'needs Docker',
    'fly volumes create data --size 1': "Fly's cloud; examples.test.ts runs what the machine runs",
  },
  'docs/guide.md': {
    ...installations,
    'rm -r /opt/tsreplicate-* /usr/local/bin/tsreplicate': 'npm run test:installs does it',
    'tsreplicate restore /var/lib/tenants/eu/7.db': 'a bucket in the cloud',
    'docker run --volume data:/data --volume ./tsreplicate.yml:/etc/tsreplicate.yml:ro tsreplicate':
      'needs Docker',
    'FROM my-app': 'an image is built with Docker',
    'services:': 'needs Docker',
    "tsreplicate replicate -restore-if-db-not-exists -exec 'myapp --port 8080' /data/app.db s3://my-bucket/app":
      'a bucket in the cloud',
  },
  'docs/object-stores.md': {
    "tsreplicate generations 's3://my-bucket/app?region=eu-west-1'": 'a bucket in the cloud',
    "tsreplicate replicate -exec 'sleep 5' /data/app.db s3://my-bucket/try":
      'a bucket in the cloud',
    'gcloud storage buckets add-iam-policy-binding gs://my-bucket \\': "Google's cloud",
    'az role assignment create --role "Storage Blob Data Contributor" --assignee IDENTITY \\':
      "Azure's cloud",
  },
  'docs/operations.md': {
    "tsreplicate replicate -restore-if-db-not-exists -exec 'myapp --port 8080'":
      'myapp stands for any program; exec.test.ts runs others',
  },
  'docs/restore-runbook.md': {
    'python3 examples/restore.py /backup/app /restored/by-python.db':
      'needs a package of Python; example-restore.test.ts runs it',
  },
  'docs/testing.md': {
    'npm run dev        # the unit tests, again whenever you save': 'a test would run the tests',
    'TSREPLICATE_STORES=minio npm run test:stores': 'a test would run the tests',
    'export TSREPLICATE_TEST_PACKAGE=$PWD/.installed/node_modules/tsreplicate':
      'a test would run the tests',
  },
}

export function exceptionFor(page: string, firstLine: string): string | undefined {
  return exceptions[page]?.[firstLine]
}
