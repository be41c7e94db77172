// Interfaces of TypeScript beside the values that are passed and returned as them.
import { join } from 'node:path';
import ts from 'typescript';
import { root } from '../fixtures/command_line.js';

/** A value with something of it changed, and what that was. */
export interface Changed {
  path: string;
  value: object;
}

/** The interfaces of a file, and what was seen to cross. */
export class Surface {
  /** Names of fields that were read, by interface. */
  readonly read = new Map<string, Set<string>>();
  /** Interfaces of which a value was returned. */
  readonly given = new Set<string>();
  /** Where a returned value is not what is declared. */
  readonly differences: string[] = [];
  readonly #called = new Set<string>();
  readonly #watched = new Set<string>();
  readonly #checker: ts.TypeChecker;
  readonly #types = new Map<string, ts.Type>();

  constructor(file: string) {
    const { options } = ts.parseJsonConfigFileContent(
      ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config,
      ts.sys,
      root,
    );
    const program = ts.createProgram([join(root, file)], options);
    this.#checker = program.getTypeChecker();
    for (const source of program
      .getSourceFiles()
      .filter(({ isDeclarationFile }) => !isDeclarationFile))
      for (const statement of source.statements)
        if (ts.isInterfaceDeclaration(statement))
          this.#types.set(statement.name.text, this.#checker.getTypeAtLocation(statement));
  }

  typeOf(name: string): ts.Type {
    const type = this.#types.get(name);
    if (type === undefined) throw new Error(`Expected an interface ${name}`);
    return type;
  }

  /** Names of its members, sorted. */
  fieldsOf(name: string): string[] {
    return fieldNames(this.#types.get(name) ?? this.#anonymous.get(name) ?? this.typeOf(name));
  }

  /** Functions of what was watched that were not called. */
  uncalled(): string[] {
    return [...this.#watched].flatMap((name) =>
      this.typeOf(name)
        .getProperties()
        .filter((field) => isFunction(this.#typeOfField(field)))
        .map((field) => `${name}.${field.name}`)
        .filter((field) => !this.#called.has(field)),
    );
  }

  /** An object of native code that is declared as this interface: checks it, and what its functions take and give. */
  watch(name: string, object: object) {
    const type = this.typeOf(name);
    this.#watched.add(name);
    this.#compare(object, type, name);
    const run =
      (member: string, signature: ts.Signature | undefined, call: (args: unknown[]) => unknown) =>
      async (args: readonly unknown[]): Promise<unknown> => {
        if (signature === undefined) throw new Error(`Expected ${name} to declare ${member}`);
        this.#called.add(`${name}.${member}`);
        const parameters = signature
          .getParameters()
          .map((parameter) => this.#typeOfField(parameter));
        const result = await call(args.map((value, i) => this.#recording(value, parameters[i])));
        const returned = this.#checker.getAwaitedType(signature.getReturnType());
        this.#compare(result, returned as ts.Type, `${name}.${member}()`);
        return result;
      };
    const of = (member: string) => {
      const field = type.getProperty(member);
      return field && this.#typeOfField(field);
    };
    const functions = object as Record<string, (...args: unknown[]) => unknown>;
    const classes = object as Record<string, new (...args: unknown[]) => object>;
    return {
      call: (member: string, ...args: unknown[]) =>
        run(member, of(member)?.getCallSignatures()[0], (watched) =>
          functions[member]?.(...watched),
        )(args),
      construct: (member: string, ...args: unknown[]) =>
        run(member, of(member)?.getConstructSignatures()[0], (watched) =>
          Reflect.construct(classes[member] as never, watched),
        )(args) as Promise<object>,
    };
  }

  /** Every change of one field that `changes` gives, in objects as deep as there are. */
  change(
    type: ts.Type,
    value: unknown,
    changes: (field: ts.Symbol, type: ts.Type, value: unknown) => readonly (object | undefined)[],
    path = '',
  ): Changed[] {
    if (Array.isArray(value)) {
      const element = this.#elementOf(type);
      return value.flatMap((item, i) =>
        this.change(element, item, changes, `${path}[${i}]`).map((changed) => ({
          path: changed.path,
          value: value.with(i, changed.value),
        })),
      );
    }
    if (!isPlain(value)) return [];
    for (const { name, flags } of type.getProperties())
      if (!(flags & ts.SymbolFlags.Optional) && !(name in value))
        throw new Error(`Expected ${path}.${name}, which is not declared optional`);
    return Object.keys(value).flatMap((key) => {
      const field = type.getProperty(key) as ts.Symbol;
      const own = this.#typeOfField(field);
      const at = `${path}.${key}`;
      const { [key]: old, ...rest } = value;
      return [
        ...changes(field, own, old).map((changed) => ({
          path: `${at}${changed ? ` ${Object.values(changed)}` : ''}`,
          value: { ...rest, ...changed },
        })),
        ...this.change(own, old, changes, at).map((changed) => ({
          path: changed.path,
          value: { ...rest, [key]: changed.value },
        })),
      ];
    });
  }

  readonly #anonymous = new Map<string, ts.Type>();

  #typeOfField(field: ts.Symbol): ts.Type {
    return this.#checker.getNonNullableType(this.#checker.getTypeOfSymbol(field));
  }

  #elementOf(type: ts.Type): ts.Type {
    return this.#checker.getIndexTypeOfType(type, ts.IndexKind.Number) as ts.Type;
  }

  #recording(value: unknown, type: ts.Type | undefined): unknown {
    if (type === undefined) throw new Error('Expected no more arguments than are declared');
    if (Array.isArray(value)) {
      const element = this.#elementOf(type);
      return value.map((item) => this.#recording(item, element));
    }
    if (!isPlain(value)) return value;
    const name = this.#checker.typeToString(type);
    this.#anonymous.set(name, type);
    const read = this.read.get(name) ?? new Set();
    this.read.set(name, read);
    const record = (key: string | symbol) => {
      if (typeof key === 'string') read.add(key);
      return Reflect.has(value, key) && type.getProperty(String(key));
    };
    return new Proxy(value, {
      get: (target, key) => {
        const field = record(key);
        const found = Reflect.get(target, key);
        return field ? this.#recording(found, this.#typeOfField(field)) : found;
      },
      has: (target, key) => {
        record(key);
        return Reflect.has(target, key);
      },
    });
  }

  #compare(value: unknown, declared: ts.Type, at: string): void {
    const type = value === undefined ? declared : this.#checker.getNonNullableType(declared);
    if (this.#fits(value, type)) {
      if (Array.isArray(value))
        for (const item of value) this.#compare(item, this.#elementOf(type), `${at}[]`);
      else if (isInterface(value, type)) this.#compareFields(value as object, type, at);
    } else {
      this.differences.push(`${at} is ${String(value)}, not ${this.#checker.typeToString(type)}`);
    }
  }

  #compareFields(value: object, type: ts.Type, at: string): void {
    const name = this.#checker.typeToString(type);
    this.given.add(name);
    const made = isPlain(value) ? value : Object.getPrototypeOf(value);
    const names = Object.getOwnPropertyNames(made).filter((key) => key !== 'constructor');
    if (names.sort().join() !== fieldNames(type).join())
      this.differences.push(`${at} has ${names}, ${name} has ${fieldNames(type)}`);
    for (const field of type.getProperties())
      this.#compare(
        Reflect.get(value, field.name),
        this.#typeOfField(field),
        `${at}.${field.name}`,
      );
  }

  #fits(value: unknown, type: ts.Type): boolean {
    if (type.isUnion()) return type.types.some((member) => this.#fits(value, member));
    if (type.isStringLiteral()) return value === type.value;
    const kinds: [ts.TypeFlags, string][] = [
      [ts.TypeFlags.NumberLike, 'number'],
      [ts.TypeFlags.StringLike, 'string'],
      [ts.TypeFlags.BooleanLike, 'boolean'],
      [ts.TypeFlags.VoidLike, 'undefined'],
    ];
    const [, kind] = kinds.find(([flags]) => type.flags & flags) ?? [];
    if (kind !== undefined) return typeof value === kind;
    if (isFunction(type)) return typeof value === 'function';
    if (this.#checker.isArrayType(type)) return Array.isArray(value);
    if (ArrayBuffer.isView(value)) return value.constructor.name === type.symbol.name;
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  }
}

/** The value without each field that is not declared optional. */
export function withoutEachField(surface: Surface, name: string, value: object): Changed[] {
  return surface.change(surface.typeOf(name), value, (field) =>
    field.flags & ts.SymbolFlags.Optional ? [] : [undefined],
  );
}

/** The value with each of the words that are declared for a field, in its stead. */
export function withEachWord(surface: Surface, name: string, value: object): Changed[] {
  return surface.change(surface.typeOf(name), value, ({ name: key }, type) =>
    (type.isUnion() ? type.types : []).flatMap((member) =>
      member.isStringLiteral() ? [{ [key]: member.value }] : [],
    ),
  );
}

function fieldNames(type: ts.Type): string[] {
  return type
    .getProperties()
    .map(({ name }) => name)
    .sort();
}

function isFunction(type: ts.Type): boolean {
  return type.getCallSignatures().length + type.getConstructSignatures().length > 0;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
  );
}

/** Whether the value is an object whose fields are declared here, no array and no function. */
function isInterface(value: unknown, type: ts.Type): boolean {
  return (
    typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !isFunction(type)
  );
}
