// Has OpenAI's own client do what the test does by hand: see openai_test.go.
const fs = require('fs');
const { OpenAI } = require('openai');

const [base, input] = process.argv.slice(2);
const over = ['completed', 'failed', 'expired', 'cancelled'];

async function main() {
  const client = new OpenAI({ baseURL: base, apiKey: 'none', maxRetries: 0 });
  const file = await client.files.create({ file: fs.createReadStream(input), purpose: 'batch' });
  let batch = await client.batches.create({
    input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h', metadata: { of: 'test' },
  });
  while (!over.includes(batch.status)) {
    await new Promise((done) => setTimeout(done, 50));
    batch = await client.batches.retrieve(batch.id);
  }
  const content = async (id) => (id ? (await client.files.content(id)).text() : '');
  const batches = [];
  for await (const b of client.batches.list({ limit: 1 })) batches.push(b.id);
  const files = [];
  for await (const f of client.files.list()) files.push(f.id);
  const said = {
    file, batch, batches, files,
    uploaded: await content(file.id), output: await content(batch.output_file_id), errors: await content(batch.error_file_id),
    shown: await client.files.retrieve(batch.output_file_id), deleted: await client.files.delete(file.id),
  };
  console.log(JSON.stringify(said));
}

main().catch((e) => { console.error(e); process.exit(1); });
