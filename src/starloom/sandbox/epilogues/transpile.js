// TypeScript to JavaScript, one file at a time. Like MXEval's own harness, types are not a reason to fail: syntax is.
'use strict';
const fs = require('fs');
const ts = require(process.argv[2]);
let wrong = 0;
for (const name of process.argv.slice(3)) {
  const done = ts.transpileModule(fs.readFileSync(name, 'utf8'), {
    fileName: name,
    reportDiagnostics: true,
    compilerOptions: { target: 'es2020', module: 'commonjs', alwaysStrict: true },
  });
  for (const found of done.diagnostics) {
    wrong += 1;
    const line = found.file ? found.file.getLineAndCharacterOfPosition(found.start).line + 1 : 0;
    console.error(`${name}:${line}: ${ts.flattenDiagnosticMessageText(found.messageText, '\n')}`);
  }
  fs.writeFileSync(name.replace(/\.ts$/, '.js'), done.outputText);
}
process.exit(wrong ? 1 : 0);
