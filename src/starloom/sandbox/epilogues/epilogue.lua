-- Runs main.lua, program and tests in one chunk (the program's function may be local to it), whose last line calls `ending`
-- with a number that only its text holds; the text is read whole and removed before, and `debug` is taken away.
-- assert and error reach the tests as arguments of the chunk, so that a program cannot replace them.
local given = io.read('a')
io.stdin:close()
local file = assert(io.open('main.lua', 'rb'))
local text = file:read('a')
file:close()
os.remove('main.lua')
local number = text:match('ending%("(%x+)"%)%s*$')
local write, sub, stdout, reached = io.write, string.sub, io.stdout, false
local put = stdout.write
debug = { traceback = debug.traceback, getinfo = debug.getinfo }
package.loaded.debug = debug
local run = assert(load(text, '@main.lua'))
text = nil
run(assert, error, function(said) reached = said == number end)
if not reached then os.exit(1) end
local half = #given // 2
stdout:flush()
put(stdout, '\n' .. sub(given, half + 1) .. sub(given, 1, half) .. ' -\n')
